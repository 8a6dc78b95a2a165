# syntax=docker/dockerfile:1
# Runplane as an image: one program on Debian's libc, with roots of certificates, and no shell. Why so: docs/adr/0027-container-and-chart.md;
# how to build and push it: docs/deploy.md.

FROM docker.io/library/rust:1.95-bookworm AS build
# Writes the list of all crates and versions into the program: `rust-audit-info runplane` and scanners of images read it.
RUN cargo install --locked --version 0.7.7 cargo-auditable
WORKDIR /source
COPY . .
# The target folder is a cache of the builder and no layer, so the program is taken out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo auditable build --locked --release --bin runplane \
    && install -D --mode=0755 target/release/runplane /root-of-image/usr/local/bin/runplane \
    && install -D --mode=0644 LICENSE /root-of-image/usr/share/doc/runplane/LICENSE
# Where SQLite is: it belongs to the user of the image, so that a new volume does too.
RUN install --directory --owner=65532 --group=65532 --mode=0750 /data

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Runplane" \
      org.opencontainers.image.description="The open, self-hosted platform API for AI agents" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /root-of-image /
COPY --from=build --chown=65532:65532 /data /var/lib/runplane
# By number, which Kubernetes can compare with `runAsNonRoot`.
USER 65532:65532
# The default database, `sqlite://runplane.db`, lies here.
WORKDIR /var/lib/runplane
VOLUME /var/lib/runplane
# Within a container loopback would be nobody's. The environment goes before a configuration file.
ENV RUNPLANE__SERVER__LISTEN=0.0.0.0:8080
# The API; and metrics and health, when `admin.listen` opens it.
EXPOSE 8080 9090
# A check from within would need a shell and a client, which are not here; who runs the image asks /readyz from outside.
HEALTHCHECK NONE
ENTRYPOINT ["runplane"]
CMD ["serve"]
