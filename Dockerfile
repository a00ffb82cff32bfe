# syntax=docker/dockerfile:1
#
#   docker build -t notes-mcp .
#
# One image for all programs: `notes-mcp serve` (the default), `notes-mcp migrate up`,
# `notes-mcp check`, `notes-mcp-worker`. The programs need only the C library and certificates. They run
# as an unprivileged user, without a shell.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# cargo-auditable embeds the list of dependencies in the binaries, for vulnerability scanners.
RUN cargo install --locked cargo-auditable
COPY . .
# The cache mounts only make repeated builds faster.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo auditable build --release --locked -p web -p worker \
    && install -D -t /out target/release/notes-mcp target/release/notes-mcp-worker

# The same Debian release as the build stage, and so the same C library.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="notes-mcp" \
      org.opencontainers.image.description="An MCP server for notes" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
# PORT (default) and METRICS_PORT (as in render.yaml and compose.yaml).
EXPOSE 8080 9091
# No ENTRYPOINT, so that a platform's command replaces the whole command.
CMD ["/usr/local/bin/notes-mcp", "serve"]
