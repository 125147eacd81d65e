"""What the defects in table `data_quality` mean and ask for, by kind, in the words of dashboards."""

from schemas.texts import Text

_DROPPED = Text(
    "Value that cannot be: left out, the rest of the row is kept. Update the exporter or driver.",
    "Valeur impossible : écartée, le reste de la ligne est gardé. Mettez à jour l’exportateur ou le pilote.",
)
_BLANK = Text(
    "Blank printed as a number: left out. Nothing is lost; the exporter cannot read this value.",
    "Vide écrit comme un nombre : écarté. Rien n’est perdu ; l’exportateur ne peut pas lire cette valeur.",
)
_PAGE = Text(
    "Exporter's page that is not whole: what could be read was kept. Look at the exporter's log.",
    "Page d’exportateur incomplète : ce qui se lit a été gardé. Voyez le journal de l’exportateur.",
)
_SILENT = Text(
    "Exporter does not answer: its devices are not observed. Ask the operator whether it runs.",
    "L’exportateur ne répond pas : ses appareils ne sont pas observés. Demandez à l’exploitant s’il tourne.",
)
_COUNTED_FROM_ZERO = Text(
    "Counter began anew: counted from there. Expected after a restart or a driver reload.",
    "Compteur reparti : compté à partir de là. Attendu après un redémarrage ou un rechargement du pilote.",
)
_LOST = Text(
    "Samples were dropped for want of room: make room on the collector's disk, or bring Kafka back.",
    "Mesures abandonnées faute de place : libérez le disque du collecteur, ou rétablissez Kafka.",
)

OF_DEVICES: dict[str, Text] = {
    "device_vanished": Text(
        "Device is no longer reported: removed, broken, or its exporter lost it. Look at the node.",
        "Appareil qui n’est plus signalé : retiré, en panne, ou perdu par son exportateur. Voyez le nœud.",
    ),
    "unmetered_gap": Text(
        "Silent for longer than may be bridged: this time is missing from coverage, nothing is guessed.",
        "Silence trop long pour être comblé : ce temps manque à la couverture, rien n’est deviné.",
    ),
    "counter_jump": Text(
        "Counter rose by more than is possible: not counted. Look at the device or server.",
        "Compteur monté de plus qu’il n’est possible : non compté. Voyez l’appareil ou le serveur.",
    ),
    "counter_reset": _COUNTED_FROM_ZERO,
    "power_out_of_range": _DROPPED,
    "power_w_out_of_range": _DROPPED,
    "energy_mj_out_of_range": _DROPPED,
    "temperature_out_of_range": _DROPPED,
    "temperature_c_out_of_range": _DROPPED,
    "memory_out_of_range": _DROPPED,
    "memory_used_mib_out_of_range": _DROPPED,
    "ratio_out_of_range": _DROPPED,
    "xid_out_of_range": _DROPPED,
    "repeated_series": Text(
        "Same device twice in one reading: counted once. Two exporters on one node?",
        "Même appareil deux fois dans une lecture : compté une fois. Deux exportateurs sur un nœud ?",
    ),
    "unknown_slice_share": Text(
        "Slice whose share of the device is not known: counted as one part of it, see the detail.",
        "Tranche dont la part de l’appareil est inconnue : comptée comme une partie, voyez le détail.",
    ),
    "too_many_sharers": Text(
        "More workloads share the slice than can be told apart: counted as held by nobody.",
        "Plus de travaux partagent la tranche qu’on ne peut distinguer : comptée comme réservée par personne.",
    ),
}
"""Kinds whose subject is a device, or may be one."""

KINDS: dict[str, Text] = OF_DEVICES | {
    "target_down": _SILENT,
    "target_unreachable": _SILENT,
    "target_timeout": _SILENT,
    "http_error": _SILENT,
    "target_up": Text("Exporter answers again.", "L’exportateur répond de nouveau."),
    "reader_failed": Text(
        "Reader could not make sense of a page: what it says could not be metered. Report it with the detail.",
        "Page que le lecteur n’a pas comprise : rien n’a pu en être mesuré. Signalez-le avec le détail.",
    ),
    "empty_page": _PAGE,
    "garbage_page": _PAGE,
    "truncated_page": _PAGE,
    "oversized_page": _PAGE,
    "unreadable_line": _PAGE,
    "no_series": Text(
        "Page without a series that is needed: switch it on in the exporter.",
        "Page sans une série nécessaire : activez-la dans l’exportateur.",
    ),
    "series_vanished": Text(
        "Series that was there is gone: what it measures is missing. Look at the exporter's configuration.",
        "Série disparue : ce qu’elle mesure manque. Voyez la configuration de l’exportateur.",
    ),
    "counter_vanished": Text(
        "Token counter is gone: tokens are no longer counted there. Look at the server.",
        "Compteur de jetons disparu : les jetons n’y sont plus comptés. Voyez le serveur.",
    ),
    "counter_out_of_range": _DROPPED,
    "counter_swapped": Text(
        "Another process answers at this address: its earlier count is left out.",
        "Un autre processus répond à cette adresse : son compte antérieur est écarté.",
    ),
    "stale_reading": Text(
        "Older than what was read before: left out. Set the clocks of the collectors.",
        "Plus ancien que la lecture précédente : écarté. Réglez les horloges des collecteurs.",
    ),
    "clock_step": Text(
        "Clock of the collector was set: intervals across the step are measured by a steady clock.",
        "L’horloge du collecteur a été réglée : les intervalles autour suivent une horloge stable.",
    ),
    "sequence_gap": Text(
        "Messages of a collector are missing: they may still come. The audit of messages says whether they did.",
        "Messages d’un collecteur manquants : ils peuvent encore venir. La vérification des messages le dira.",
    ),
    "spool_full": _LOST,
    "disk_full": _LOST,
    "oversized_message": _LOST,
    "spool_damaged": Text(
        "File of the collector's spool cannot be read: what it held may be missing. Look at the disk.",
        "Fichier de la file du collecteur illisible : son contenu peut manquer. Voyez le disque.",
    ),
    **dict.fromkeys(
        (
            "sentinel_uint8", "sentinel_uint16", "sentinel_uint32", "sentinel_uint64", "sentinel_int32",
            "sentinel_int64", "sentinel_fp64",
        ),
        _BLANK,
    ),
}  # fmt: skip
"""Every kind that collectors and workers record."""
