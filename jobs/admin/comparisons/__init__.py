"""Comparisons in the admin: the list, a page for each with its figures and answers, and the form that starts one."""
