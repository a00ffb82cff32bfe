# syntax=docker/dockerfile:1
#
# One image with everything: `notes-mcp serve` (the default), `notes-mcp migrate up`,
# `notes-mcp check`, `notes-mcp-worker`. Beside them there is what a Rust program needs: the C library
# and certificates. Nothing uses the shell of the base, and it runs as nobody in particular.
#
#   docker build -t notes-mcp .

FROM rust:1.95-bookworm AS build
WORKDIR /src
# cargo-auditable writes the list of dependencies into the binaries, where scanners find it.
RUN cargo install --locked cargo-auditable
COPY . .
# The caches outlive the build where the builder keeps them; without them it takes longer, no more.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo auditable build --release --locked -p web -p worker \
    && install -D -t /out target/release/notes-mcp target/release/notes-mcp-worker

# The same release as the build, so that it is the same C library.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="notes-mcp" \
      org.opencontainers.image.description="An MCP server for notes" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
# The default of PORT, and a usual METRICS_PORT.
EXPOSE 8080 9091
# Without an entry point, so that a platform's command is the whole command.
CMD ["/usr/local/bin/notes-mcp", "serve"]
