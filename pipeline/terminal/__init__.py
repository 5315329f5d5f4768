"""What a command says and hears: rows on stdout, the live display and logs on stderr, Ctrl-C and a service's stop."""
