"""What somebody writes in an afternoon: a Celery task with `rate_limit` that retries by itself when it meets a 429."""

import os

from celery import Celery
from openai import OpenAI, RateLimitError

app = Celery("plain", broker=os.environ["PLAIN_BROKER"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1)
client = OpenAI(max_retries=0)


@app.task(
    autoretry_for=(RateLimitError,),
    retry_backoff=True,
    retry_jitter=True,
    max_retries=None,
    # Celery's limit is that of one worker process, so the account's is divided by their number.
    rate_limit=os.environ["PLAIN_RATE_LIMIT"],
)
def ask(prompt: str) -> None:
    client.chat.completions.create(
        model=os.environ["PLAIN_MODEL"],
        messages=[{"role": "user", "content": prompt}],
        max_completion_tokens=int(os.environ["PLAIN_CAP"]),
    )
