"""Laws that need several threads or processes: races, kills, forks and crashes."""
