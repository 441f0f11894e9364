"""pgtg: a car on tracks of tiles, with other cars, lights, ice and sand."""
