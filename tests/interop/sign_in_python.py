"""The OAuth provider of the Python client: from nothing but an address to notes, and later to new
tokens without the person."""

import asyncio
import os
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

PERSON = Path(__file__).parent.parent / "person.mjs"


def ok(step):
    print(f"ok {step}", flush=True)


class Memory:
    """Keeps what a client keeps in its settings, and sends the person to a browser."""

    client = None
    tokens = None
    answer = None
    asked = 0

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info
        ok("registers")

    async def to_browser(self, url):
        ok("discovers")
        self.asked += 1
        person = await asyncio.create_subprocess_exec("node", PERSON, url, stdout=asyncio.subprocess.PIPE)
        address, _ = await person.communicate()
        assert person.returncode == 0
        self.answer = dict(parse_qsl(urlsplit(address.decode().strip()).query))

    async def from_browser(self):
        return AuthorizationCodeResult(**self.answer)


def provider(memory):
    return OAuthClientProvider(
        server_url=os.environ["MCP_URL"],
        # Nobody listens there: the person hands the address over.
        client_metadata=OAuthClientMetadata(
            client_name="Interop", redirect_uris=["http://127.0.0.1:33418/callback"]
        ),
        storage=memory,
        redirect_handler=memory.to_browser,
        callback_handler=memory.from_browser,
    )


async def use(auth, story):
    async with httpx2.AsyncClient(auth=auth, timeout=60) as http:
        transport = streamable_http_client(os.environ["MCP_URL"], http_client=http)
        async with Client(transport) as client:

            async def call(name, arguments):
                result = await client.call_tool(name, arguments)
                assert not result.is_error, result.content
                return result.structured_content

            await story(client, call)


async def main():
    memory = Memory()
    auth = provider(memory)
    notes = []

    async def first(client, call):
        ok("connects")
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "notes_create" in names, names
        ok("lists")
        notes.append(await call("notes_create", {"title": "Groceries", "body": "Milk"}))
        ok("creates")
        # As if half an hour had passed.
        before = memory.tokens
        auth.context.token_expiry_time = 1
        assert (await call("notes_get", {"id": notes[0]["id"]}))["body"] == "Milk"
        assert memory.tokens.refresh_token != before.refresh_token, "it was rotated"
        ok("refreshes")

    async def later(_client, call):
        assert (await call("notes_get", {"id": notes[0]["id"]}))["title"] == "Groceries"
        assert memory.asked == 1, "nobody was asked again"
        ok("returns")

    await use(auth, first)
    await use(provider(memory), later)


asyncio.run(main())
