"""The tutorial's program on an old official client: nothing of Bursar's but the address and the key."""

import json
import os
from typing import Any

from openai import OpenAI, RateLimitError, __version__

client = OpenAI()
message: Any = {"role": "user", "content": os.environ["PROMPT"]}
try:
    answer = client.chat.completions.create(model="o1-mini", messages=[message])
    chunks = client.chat.completions.create(model="o1-mini", messages=[message], stream=True)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    told = {
        "version": __version__,
        "text": answer.choices[0].message.content,
        "streamed": streamed,
        "input": answer.usage.prompt_tokens,
        "output": answer.usage.completion_tokens,
        "reasoning": answer.usage.completion_tokens_details.reasoning_tokens,
    }
except RateLimitError as error:
    told = {"refused": error.code, "type": error.type}
print(json.dumps(told))
