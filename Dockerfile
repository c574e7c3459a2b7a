# Builds the rootfs of the managed plugin, identical to that of `make plugin`:
#   docker build --output target/plugin/rootfs .
# BUILDER can be any image with Rust and a C linker, so a local one works without a registry.
ARG BUILDER=rust:1-slim-bookworm

FROM ${BUILDER} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# A member of the workspace; it is not built here.
COPY span span
COPY tests tests
COPY benches benches
COPY plugin plugin
COPY docs docs
COPY Makefile ./
RUN make plugin

FROM scratch
COPY --from=build /src/target/plugin/rootfs/ /
ENTRYPOINT ["/canhub", "serve"]
