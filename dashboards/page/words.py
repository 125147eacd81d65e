"""Words of the page itself; those of the panels are in their definitions."""

from dashboards.model import Level
from dashboards.units import Text

SKIP = Text("Skip to the figures", "Aller aux chiffres")
DASHBOARDS = Text("Dashboards", "Tableaux de bord")
RANGE = Text("Time range", "Période")
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
NONE = Text("none", "aucun")
NEWEST = Text("newest value", "dernière valeur")
NOT_FOUND = Text("There is no such dashboard.", "Ce tableau de bord n’existe pas.")
RANGES_FR = {"24h": "24 h", "7d": "7 j", "30d": "30 j", "5m": "5 min", "15m": "15 min", "1h": "1 h", "6h": "6 h"}
RANGES_EN = {"24h": "24 h", "7d": "7 d", "30d": "30 d", "5m": "5 min", "15m": "15 min", "1h": "1 h", "6h": "6 h"}

# A sign beside each colour, so that the colour is never alone.
SIGNS = {Level.PLAIN: "", Level.GOOD: "✓", Level.WATCH: "▲", Level.ACT: "◆"}
