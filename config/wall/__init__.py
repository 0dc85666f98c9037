"""How the second wall between organizations is built: row-level security for the role that requests of the API take.

`rules` derives from the models which rows of a table are an organization's, `building` writes that into the database
after every `migrate`. Who stands behind the wall, and when, is `accounts.wall` (docs/decisions/0038).
"""
