"""The Python client: `legacy` shakes hands, `auto` finds out that the server speaks 2026-07-28."""

import asyncio
import os
import sys

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

answers = {"elicit": None, "asked": []}


def ok(step):
    print(f"ok {step}", flush=True)


async def elicit(_context, params):
    answers["asked"].append(params.message)
    return answers["elicit"]


async def sample(_context, _params):
    content = types.TextContent(type="text", text="Buy milk and bread.")
    return types.CreateMessageResult(role="assistant", model="a model of the test", content=content)


async def story(client):
    async def call(name, arguments, **more):
        result = await client.call_tool(name, arguments, **more)
        assert not result.is_error, result.content
        return result.structured_content

    names = [tool.name for tool in (await client.list_tools()).tools]
    assert {"notes_create", "notes_delete"} <= set(names), names
    ok("lists")

    note = await call("notes_create", {"title": "Groceries", "body": "Milk, bread"})
    ok("creates")

    assert (await call("notes_get", {"id": note["id"]}))["body"] == "Milk, bread"
    ok("reads")

    resource = await client.read_resource(f"notes://by-id/{note['id']}")
    assert "Milk, bread" in resource.contents[0].text
    ok("resource")

    progress = []

    async def on_progress(done, _total, _message):
        progress.append(done)

    summary = await call("notes_summarize", {"ids": [note["id"]]}, progress_callback=on_progress)
    assert progress and progress == sorted(progress), progress
    ok("progress")
    assert "Buy milk and bread" in str(summary), summary
    ok("sampling")

    answers["elicit"] = types.ElicitResult(action="decline")
    await client.call_tool("notes_delete", {"id": note["id"]})
    assert (await call("notes_get", {"id": note["id"]}))["title"] == "Groceries"
    ok("declines")

    answers["elicit"] = types.ElicitResult(action="accept", content={"confirm": True})
    await call("notes_delete", {"id": note["id"]})
    assert "Groceries" in answers["asked"][-1], answers["asked"]
    gone = await client.call_tool("notes_get", {"id": note["id"]})
    assert gone.is_error, gone
    ok("deletes")


async def main(mode):
    headers = {"Authorization": f"Bearer {os.environ['MCP_TOKEN']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(os.environ["MCP_URL"], http_client=http)
        async with Client(
            transport, mode=mode, elicitation_callback=elicit, sampling_callback=sample
        ) as client:
            modern = client.protocol_version == "2026-07-28"
            assert modern == (mode == "auto"), client.protocol_version
            await story(client)


asyncio.run(main(sys.argv[1]))
