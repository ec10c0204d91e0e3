"""The page of the operator on call: server-rendered, live, and shut without CONSOLE_TOKEN.

app         the routes, and what they are made of
guard       who is asking: Bearer, cookie, CSRF, too many wrong tokens
session     what the cookie says
throttle    how many wrong tokens an address has sent
render      templates into answers, with their headers
requests    what came in: forms, filters
overview, live, lists, mending, dead_letters, pausing     one page each
why, waits, timeline, headline, chart, masking, words     what the pages say, without I/O
"""
