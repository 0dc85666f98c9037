// LangChain on the official client.
import { ChatOpenAI } from "@langchain/openai";

const model = new ChatOpenAI({ model: "o1-mini", useResponsesApi: false, configuration: { baseURL: process.env.OPENAI_BASE_URL } });
try {
  const answer = await model.invoke(process.env.PROMPT);
  let streamed = "";
  for await (const chunk of await model.stream(process.env.PROMPT)) streamed += chunk.content;
  const usage = answer.usage_metadata;
  console.log(
    JSON.stringify({
      text: answer.content,
      streamed,
      input: usage.input_tokens,
      output: usage.output_tokens,
      reasoning: usage.output_token_details.reasoning,
    }),
  );
} catch (error) {
  console.log(JSON.stringify({ refused: error.code, type: error.type, status: error.status }));
}
