package placement

import (
	"fmt"
	"testing"
)

func BenchmarkChoose(b *testing.B) {
	for _, n := range []int{22, 64, 1000, 10000} {
		candidates := make([]Candidate, n)
		for i := range candidates {
			candidates[i] = healthy(fmt.Sprintf("mc-%d", i))
		}
		random := seeded(1)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Choose(Request{Region: "eu"}, Fleet{"eu": candidates}, random)
			}
		})
	}
}
