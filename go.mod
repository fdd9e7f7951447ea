module darktower.example/global-controller

go 1.26.0

// go-kit v0.13.0 still names the genproto of 2021, which holds the same packages as the split modules
// that grpc uses now; without this line every import of them is ambiguous.
exclude google.golang.org/genproto v0.0.0-20210917145530-b395a37504d4
