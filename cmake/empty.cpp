// A room whose sources are all headers, or still to come.
