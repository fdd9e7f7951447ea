# syntax=docker/dockerfile:1
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X darktower.example/global-controller/internal/daemon.Version=${VERSION}" \
    -o /out/ ./cmd/global-controller && mkdir -p /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/global-controller /global-controller
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
WORKDIR /
# Listen on all addresses: calls come from outside the container.
ENV BIND_ADDRESS=0.0.0.0:8081 GC_GRPC_BIND_ADDRESS=0.0.0.0:50051
EXPOSE 8081 50051
VOLUME /data
HEALTHCHECK --interval=10s --timeout=4s --start-period=15s CMD ["/global-controller", "probe"]
ENTRYPOINT ["/global-controller"]
