# The gateway in an image of its own: one static program, the certificates that `amqps://` is checked
# by, and nothing else; no shell. The context is this directory, of which `.dockerignore` lets in what
# the build reads.
#
#   docker build --tag myxi .
#   docker run --network backend --publish 5005:5005 --env MYXI_EXCHANGES=widgets \
#     --env MYXI_ACTION_HANDLER=http://application:50051 myxi

FROM rust:1-slim-bookworm AS build
# `ring` and `mimalloc` are C in part.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates musl-tools \
 && rm -rf /var/lib/apt/lists/* \
 && rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /build
COPY . .
RUN cargo build --locked --release --bin myxi --target "$(uname -m)-unknown-linux-musl" \
 && strip --strip-all -o /myxi "target/$(uname -m)-unknown-linux-musl/release/myxi"

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /myxi /usr/local/bin/myxi
# Of nobody, and by number, for Kubernetes' `runAsNonRoot` knows no names.
USER 65532:65532
# Whoever is outside reaches it; what is for one machine stays on loopback: 5006 (the application) and
# 5007 (the console, `/metrics`, health). To open those see docs/deploy.md.
EXPOSE 5005
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s CMD ["/usr/local/bin/myxi", "health"]
ENTRYPOINT ["/usr/local/bin/myxi"]
CMD ["serve"]
