"""What a page of ours may load and run, told to the browser (decision 0023)."""

from django.http import HttpResponse

# Alpine, by which the admin's theme moves its menus, makes functions of the expressions in its pages' attributes:
# 'unsafe-eval'. Scripts within the page and in attributes stay forbidden. Styles in a page are the theme's colours and
# what the documentation of the API brings, which also has a worker made of a blob and pictures made of data.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


def protect(response: HttpResponse) -> None:
    """Sets the policy where the response is a page; answers of the API cost one look at their type."""
    if response.headers.get("Content-Type", "").startswith("text/html"):
        response.headers.setdefault("Content-Security-Policy", POLICY)
