# The rootfs of the managed plugin, the same that `make plugin` lays out:
#   docker build --output target/plugin/rootfs .
# BUILDER is any image with Rust and a C linker; one of your own needs no registry.
ARG BUILDER=rust:1-slim-bookworm

FROM ${BUILDER} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY tests tests
COPY benches benches
COPY plugin plugin
COPY docs docs
COPY Makefile ./
RUN make plugin

FROM scratch
COPY --from=build /src/target/plugin/rootfs/ /
ENTRYPOINT ["/canhub", "serve"]
