"""Words of the page itself; those of the panels are in their definitions."""

from dashboards.model import Level
from schemas.texts import Text

SKIP = Text("Skip to the figures", "Aller aux chiffres")
DASHBOARDS = Text("Dashboards", "Tableaux de bord")
FILTERS = Text("Filters", "Filtres")
ALL = Text("All", "Tous")
CHOSEN = Text("{n} chosen", "{n} choisis")
LANGUAGE = Text("Français", "English")
LANGUAGE_HINT = Text("Afficher en français", "Show in English")
THEME = {
    "": Text("Theme: system", "Thème : système"),
    "light": Text("Theme: light", "Thème : clair"),
    "dark": Text("Theme: dark", "Thème : sombre"),
}
ABOUT = Text("About: {title}", "À propos : {title}")
MORE = Text("Explained on", "Expliqué dans")
LOADING = Text("Reading…", "Lecture…")
NO_USAGE_AT_ALL = Text("No usage in the last seven days", "Aucun usage depuis sept jours")
UP_TO = Text("usage up to {moment} UTC, {age} ago", "usage jusqu’à {moment} UTC, il y a {age}")
NOT_READ = Text("This panel could not be read", "Ce panneau n’a pas pu être lu")
NO_ANSWER = Text("No answer from the database", "Aucune réponse de la base de données")
STILL = Text("Shown as last read; trying again.", "Affiché tel que lu en dernier ; nouvel essai en cours.")
AGAIN = Text("Trying again.", "Nouvel essai en cours.")
FIRST_ROWS = Text("The first {n} rows.", "Les {n} premières lignes.")
AWAY = Text("in {time}", "dans {time}")
UNTIL = Text("until {time}", "jusqu’à {time}")
ON = Text("on {time}", "le {time}")
AT = Text("at {time}", "à {time}")
NONE = Text("none", "aucun")
NEWEST = Text("newest value", "dernière valeur")
NOT_FOUND = Text("There is no such dashboard.", "Ce tableau de bord n’existe pas.")
NOW = Text("now", "maintenant")
TREND = Text(
    "Trend over {n} points: the newest at {last} of {most}.",
    "Tendance sur {n} points : le dernier à {last} sur {most}.",
)

# Time range.
RANGE = Text("Time range", "Période")
RANGES = {
    "15m": Text("Last 15 minutes", "15 dernières minutes"),
    "1h": Text("Last hour", "Dernière heure"),
    "6h": Text("Last 6 hours", "6 dernières heures"),
    "24h": Text("Last 24 hours", "24 dernières heures"),
    "7d": Text("Last 7 days", "7 derniers jours"),
    "30d": Text("Last 30 days", "30 derniers jours"),
    "90d": Text("Last 90 days", "90 derniers jours"),
    "1y": Text("Last year", "Dernière année"),
    "fy": Text("This fiscal year", "Exercice en cours"),
}
BETWEEN = Text("{first} to {last}", "{first} au {last}")
EARLIER = Text("The time before", "La période précédente")
LATER = Text("The time after", "La période suivante")
FROM = Text("From (UTC)", "Du (UTC)")
TO = Text("To (UTC)", "Au (UTC)")
APPLY = Text("Show", "Afficher")
WRONG_RANGE = Text(
    "Choose an end that is at least a minute after the start.",
    "Choisissez une fin au moins une minute après le début.",
)
ZOOM_HINT = Text("Or drag across a chart.", "Ou faites glisser sur un graphique.")

# Marks (annotations).
EVENTS = Text("Events", "Événements")
EVENTS_SHOWN = Text("Mark them in the charts", "Les marquer dans les graphiques")
NO_EVENTS = Text("No event in this range.", "Aucun événement dans cette période.")
MORE_EVENTS = Text("The newest {n} of {all}.", "Les {n} plus récents sur {all}.")

# What a panel shows, to take along.
CSV = Text("Data (CSV)", "Données (CSV)")
SQL = Text("SQL as run", "SQL exécuté")
SORT = Text("Sort by {title}", "Trier par {title}")

# A sign beside each colour, so that the colour is never alone.
SIGNS = {Level.PLAIN: "", Level.GOOD: "✓", Level.WATCH: "▲", Level.ACT: "◆"}
