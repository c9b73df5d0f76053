"""Titles and descriptions that hint at topic and quality, with noise, in four languages."""

import numpy as np

LANGUAGES = ("en", "es", "pt", "de")
LANGUAGE_SHARES = (0.55, 0.2, 0.15, 0.1)
WRONG_TOPIC = 0.1  # chance that a title borrows its noun from another topic

NOUNS: dict[str, dict[str, tuple[str, ...]]] = {
    "cooking": {
        "en": ("pasta", "chocolate cake", "noodle soup", "kitchen trick", "street food"),
        "es": ("receta de tortilla", "pastel de chocolate", "sopa casera", "truco de cocina"),
        "pt": ("receita de bolo", "pão de queijo", "sopa caseira", "truque de cozinha"),
        "de": ("Kuchenrezept", "Nudelsuppe", "Küchentrick", "Apfelstrudel"),
    },
    "animals": {
        "en": ("kitten", "puppy", "parrot", "sleepy cat", "rescue dog"),
        "es": ("gatito", "cachorro", "loro parlante", "perro rescatado"),
        "pt": ("gatinho", "cachorrinho", "papagaio", "cão resgatado"),
        "de": ("Kätzchen", "Welpe", "Papagei", "müde Katze"),
    },
    "music": {
        "en": ("guitar cover", "piano loop", "drum solo", "street singer", "new song"),
        "es": ("canción nueva", "solo de batería", "guitarra", "piano en vivo"),
        "pt": ("música nova", "solo de bateria", "violão", "piano ao vivo"),
        "de": ("Gitarrencover", "Schlagzeugsolo", "neues Lied", "Klavierstück"),
    },
    "sport": {
        "en": ("overhead kick", "skate trick", "match highlights", "training run", "dunk"),
        "es": ("golazo", "truco de patineta", "resumen del partido", "entrenamiento"),
        "pt": ("golaço", "manobra de skate", "melhores momentos", "treino"),
        "de": ("Fallrückzieher", "Skatetrick", "Spielhöhepunkte", "Lauftraining"),
    },
    "travel": {
        "en": ("hidden beach", "mountain sunrise", "night train", "old town walk", "island"),
        "es": ("playa escondida", "amanecer en la montaña", "tren nocturno", "isla"),
        "pt": ("praia escondida", "nascer do sol na serra", "trem noturno", "ilha"),
        "de": ("versteckter Strand", "Sonnenaufgang am Berg", "Nachtzug", "Insel"),
    },
    "study": {
        "en": ("maths puzzle", "grammar tip", "history in a minute", "physics demo", "notes"),
        "es": ("acertijo matemático", "consejo de gramática", "historia en un minuto", "física"),
        "pt": ("enigma de matemática", "dica de gramática", "história em um minuto", "física"),
        "de": ("Matherätsel", "Grammatiktipp", "Geschichte in einer Minute", "Physik"),
    },
}
# (poor, plain, good)
PHRASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "en": (
        ("{} idk", "just {}", "{} (test)", "random {}"),
        ("my {}", "{} today", "a quick {}", "{} again"),
        ("the perfect {}, explained", "{}: full story in 4K", "how I made this {}", "best {} ever"),
    ),
    "es": (
        ("{} no sé", "solo {}", "{} (prueba)"),
        ("mi {}", "{} de hoy", "otra vez {}"),
        ("{} perfecto, paso a paso", "{}: la historia completa", "así hice {}"),
    ),
    "pt": (
        ("{} sei lá", "só {}", "{} (teste)"),
        ("meu {}", "{} de hoje", "de novo {}"),
        ("{} perfeito, passo a passo", "{}: a história completa", "como fiz {}"),
    ),
    "de": (
        ("{} keine Ahnung", "nur {}", "{} (Test)"),
        ("mein {}", "{} heute", "wieder {}"),
        ("{} perfekt erklärt", "{}: die ganze Geschichte", "so entstand {}"),
    ),
}
TAGS = ("#fyp", "#viral", "#daily", "#shorts", "#foryou")


def write_text(topic: str, quality: float, rng: np.random.Generator) -> tuple[str, str | None, str]:
    """Title, description (None in four of ten cases) and language.

    Parameters
    ----------
    topic : str
        A key of `NOUNS`.
    quality : float
        Standardised; the phrase follows it plus noise of the same size.
    rng : numpy Generator
    """
    language = str(rng.choice(LANGUAGES, p=LANGUAGE_SHARES))
    seen = str(rng.choice(list(NOUNS))) if rng.random() < WRONG_TOPIC else topic
    noun = str(rng.choice(NOUNS[seen][language]))
    heard = quality + rng.normal(0, 0.7)
    grade = 0 if heard < -0.6 else 1 if heard < 0.6 else 2
    title = str(rng.choice(PHRASES[language][grade])).format(noun)
    title = title[:1].upper() + title[1:]
    if rng.random() < 0.5:
        title += f" {rng.choice(TAGS)}"
    if rng.random() < 0.4:
        return title, None, language
    second = str(rng.choice(NOUNS[topic][language]))
    return title, f"{noun}, {second} #{topic if rng.random() < 0.5 else 'video'}", language
