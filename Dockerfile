# One static binary on an empty image. Version and commit are in it by Go's build information (`orderworker version`),
# so the build needs .git, and every tracked file as it is: .dockerignore leaves out only what git ignores.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=true -ldflags="-s -w" -o /out/orderworker ./cmd/orderworker

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/orderworker /orderworker
# No name for it here: there is no /etc/passwd. Nothing is ever written, so a read-only root will do.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/orderworker"]
CMD ["run"]
