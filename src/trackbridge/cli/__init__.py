"""The command line ``bridge``: one thin file per command group, translating to the api and to delivery."""
