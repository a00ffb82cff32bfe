# syntax=docker/dockerfile:1
#
# One image with everything: `notes-mcp serve` (the default), `notes-mcp migrate up`,
# `notes-mcp check`, `notes-mcp-worker`. Nothing else is in it: no shell, no package manager, and no
# right to anything, since it runs as nobody in particular.
#
#   docker build -t notes-mcp .

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
# cargo-auditable writes the list of dependencies into the binaries, where scanners find it.
RUN cargo install --locked cargo-auditable
COPY . .
# The caches outlive the build where the builder keeps them; without them it takes longer, no more.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo auditable build --release --locked -p web -p worker \
    && install -D -t /out target/release/notes-mcp target/release/notes-mcp-worker

# C library, certificates and time zones: what a Rust program needs. uid 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="notes-mcp" \
      org.opencontainers.image.description="An MCP server for notes" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /out/ /usr/local/bin/
# The default of PORT, and a usual METRICS_PORT.
EXPOSE 8080 9091
# Without an entry point, so that a platform's command is the whole command.
CMD ["/usr/local/bin/notes-mcp", "serve"]
