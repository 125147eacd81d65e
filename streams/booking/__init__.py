"""From the meters' rows to what is stored and published: labels resolved, cost computed, minutes added up. Pure."""
