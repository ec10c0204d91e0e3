"""The page of the operator on call: rendered on the server, live, and off without CONSOLE_TOKEN.

routes      the addresses, and what they are made of
guard       who is asking: Bearer, cookie, CSRF, too many wrong tokens
session     what the cookie says
throttle    how many wrong tokens an address has sent
requests    what came in: forms, filters
render      templates into responses, with their headers
live        the first page and its server-sent events; first_page reads what it shows, headline says what is wrong
flow_pages, lists, dead_letter_pages, pause_pages, reconcile_page     the other pages
why, chart, display     what the pages say, without I/O
"""
