// The scan of m3tr/hawkes/scan_numba.py in C++, as a yardstick: float32, shared gaps, channels a
// multiple of 16 and the number of states known to the compiler, which is more than ours knows.
// y_i = C_i h_i, h_i = exp(delta_i A) h_{i-1} + B_i u_i. Gradients of u, A, B and C.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#ifndef STATES
#define STATES 16
#endif
constexpr int LANES = 16, N = STATES, CHUNK = 16, GROUP = 4;
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t whole __attribute__((vector_size(4 * LANES)));

static inline lanes load(const float *p) { return *reinterpret_cast<const lanes *>(p); }
static inline void store(float *p, lanes v) { *reinterpret_cast<lanes *>(p) = v; }

static inline float total(lanes v) {
  float sum = 0;
  for (int j = 0; j < LANES; ++j) sum += v[j];
  return sum;
}

// 2^x for x <= 0: the whole part goes into the exponent's bits, Taylor's polynomial for the rest
static inline lanes power_of_two(lanes x) {
  const lanes low = x - x - 126.f;
  x = x > low ? x : low;
  const whole k = __builtin_convertvector(x - 0.5f, whole);  // towards zero: nearest for x <= 0
  const lanes r = x - __builtin_convertvector(k, lanes);
  lanes p = r * 1.5403530e-4f + 1.3333558e-3f;
  p = p * r + 9.6181291e-3f;
  p = p * r + 5.5504109e-2f;
  p = p * r + 2.4022651e-1f;
  p = p * r + 6.9314718e-1f;
  p = p * r + 1.f;
  const whole bits = (k + 127) << 23;
  lanes scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

extern "C" void forward(int64_t batch, int64_t L, int64_t dim, const float *u, const float *delta,
                        const float *A, const float *B, const float *C, float *kept, float *y) {
  const int64_t tiles = dim / LANES, chunks = (L + CHUNK - 1) / CHUNK;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t tile = 0; tile < tiles; ++tile) {
      lanes h[N] = {};
      for (int64_t i = 0; i < L; ++i) {
        if (i % CHUNK == 0)
          for (int n = 0; n < N; ++n)
            store(kept + (((b * chunks + i / CHUNK) * tiles + tile) * N + n) * LANES, h[n]);
        const int64_t row = b * L + i, at = row * dim + tile * LANES;
        const lanes u_i = load(u + at);
        lanes y_i = u_i - u_i;
        for (int n = 0; n < N; ++n) {
          h[n] = power_of_two(delta[row] * load(A + (tile * N + n) * LANES)) * h[n] + u_i * B[row * N + n];
          y_i += h[n] * C[row * N + n];
        }
        store(y + at, y_i);
      }
    }
}

extern "C" void backward(int64_t batch, int64_t L, int64_t dim, const float *u, const float *delta,
                         const float *A, const float *B, const float *C, const float *kept,
                         const float *dy, float *du, float *dA, float *dB, float *dC) {
  const int64_t tiles = dim / LANES, chunks = (L + CHUNK - 1) / CHUNK;
  const int64_t groups = (tiles + GROUP - 1) / GROUP;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t group = 0; group < groups; ++group) {
      alignas(64) lanes back[GROUP][N] = {}, slope[GROUP][N] = {};
      alignas(64) lanes h[CHUNK + 1][N], a[CHUNK][N], sum_b[CHUNK][N], sum_c[CHUNK][N];
      const int64_t first = group * GROUP, last = std::min(tiles, first + GROUP);
      for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
        const int64_t begin = b * L + chunk * CHUNK, steps = std::min<int64_t>(CHUNK, L - chunk * CHUNK);
        std::memset(sum_b, 0, sizeof sum_b);
        std::memset(sum_c, 0, sizeof sum_c);
        for (int64_t tile = first; tile < last; ++tile) {
          for (int n = 0; n < N; ++n)
            h[0][n] = load(kept + (((b * chunks + chunk) * tiles + tile) * N + n) * LANES);
          for (int64_t i = 0; i < steps; ++i) {
            const int64_t row = begin + i;
            const lanes u_i = load(u + row * dim + tile * LANES);
            for (int n = 0; n < N; ++n) {
              a[i][n] = power_of_two(delta[row] * load(A + (tile * N + n) * LANES));
              h[i + 1][n] = a[i][n] * h[i][n] + u_i * B[row * N + n];
            }
          }
          for (int64_t i = steps - 1; i >= 0; --i) {
            const int64_t row = begin + i, at = row * dim + tile * LANES;
            const lanes u_i = load(u + at), dy_i = load(dy + at);
            lanes du_i = u_i - u_i;
            for (int n = 0; n < N; ++n) {
              lanes g = back[tile - first][n] + dy_i * C[row * N + n];
              du_i += g * B[row * N + n];
              sum_b[i][n] += g * u_i;
              sum_c[i][n] += h[i + 1][n] * dy_i;
              g *= a[i][n];
              back[tile - first][n] = g;
              slope[tile - first][n] += g * h[i][n] * delta[row];
            }
            store(du + at, du_i);
          }
        }
        for (int64_t i = 0; i < steps; ++i)
          for (int n = 0; n < N; ++n) {
            const int64_t to = ((b * groups + group) * L + chunk * CHUNK + i) * N + n;
            dB[to] = total(sum_b[i][n]);
            dC[to] = total(sum_c[i][n]);
          }
      }
      for (int64_t tile = first; tile < last; ++tile)
        for (int n = 0; n < N; ++n)
          store(dA + ((b * tiles + tile) * N + n) * LANES, slope[tile - first][n]);
    }
}
