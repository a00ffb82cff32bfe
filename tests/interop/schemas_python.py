"""Converts the tools for a model of Google's, as its own client does."""

import asyncio
import os

import httpx2
from google.genai import _mcp_utils, types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


def convert(tool):
    [declaration] = _mcp_utils.mcp_to_gemini_tool(tool).function_declarations
    parameters = declaration.parameters
    assert parameters.type == types.Type.OBJECT, parameters
    sent = set(tool.input_schema["properties"])
    assert set(parameters.properties) == sent, f"{tool.name}: {parameters.properties}"
    # Nothing is lost on the way, and nothing is there that the schema of the API does not have.
    types.Schema.model_validate(tool.input_schema)
    if tool.output_schema is not None:
        types.Schema.model_validate(tool.output_schema)


async def main():
    headers = {"Authorization": f"Bearer {os.environ['MCP_TOKEN']}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(os.environ["MCP_URL"], http_client=http)
        async with Client(transport) as client:
            tools = (await client.list_tools()).tools
    assert len(tools) > 10, tools
    print("ok lists", flush=True)
    for tool in tools:
        convert(tool)
    print("ok converts", flush=True)


asyncio.run(main())
