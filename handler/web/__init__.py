"""A request becomes an answer: routes, messages, pages and the OpenAPI document."""
