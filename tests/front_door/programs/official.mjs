// The official client for JavaScript: nothing of Bursar's but the address and the key.
import OpenAI from "openai";

const client = new OpenAI();
const request = { model: "o1-mini", messages: [{ role: "user", content: process.env.PROMPT }] };
try {
  const answer = await client.chat.completions.create(request);
  let streamed = "";
  for await (const chunk of await client.chat.completions.create({ ...request, stream: true }))
    streamed += chunk.choices[0]?.delta?.content ?? "";
  console.log(
    JSON.stringify({
      text: answer.choices[0].message.content,
      streamed,
      input: answer.usage.prompt_tokens,
      output: answer.usage.completion_tokens,
      reasoning: answer.usage.completion_tokens_details.reasoning_tokens,
    }),
  );
} catch (error) {
  if (!(error instanceof OpenAI.RateLimitError)) throw error;
  console.log(JSON.stringify({ refused: error.code, type: error.type }));
}
