// The AI SDK on its provider for OpenAI, chat completions.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const request = { model: openai.chat("o1-mini"), prompt: process.env.PROMPT };
try {
  const answer = await generateText(request);
  const streamed = await streamText(request).text;
  const { inputTokens, outputTokens, outputTokenDetails, reasoningTokens } = answer.usage;
  console.log(
    JSON.stringify({
      text: answer.text,
      streamed,
      input: inputTokens,
      output: outputTokens,
      reasoning: outputTokenDetails?.reasoningTokens ?? reasoningTokens,
    }),
  );
} catch (error) {
  const last = error.lastError ?? error;
  const said = JSON.parse(last.responseBody).error;
  console.log(JSON.stringify({ refused: said.code, type: said.type, status: last.statusCode }));
}
