// SPDX-License-Identifier: MIT

// The rows of primes_c.c in Go, which has no pool of processes.
//
//	primes_go [--quick]
package main

import (
	"fmt"
	"log"
	"runtime"
	"sort"
	"time"
)

const (
	prime = 9999999967
	jobs  = 100
)

//go:noinline
func isPrime(n uint64) bool {
	if n%2 == 0 {
		return n == 2
	}
	for divisor := uint64(3); divisor*divisor <= n; divisor += 2 {
		if n%divisor == 0 {
			return false
		}
	}
	return n > 1
}

func serial() (found int) {
	for i := 0; i < jobs; i++ {
		if isPrime(prime) {
			found++
		}
	}
	return
}

var numbers, answers = make(chan uint64, jobs), make(chan bool, jobs)

func worker() {
	for number := range numbers {
		answers <- isPrime(number)
	}
}

func threads() (found int) {
	for i := 0; i < jobs; i++ {
		numbers <- prime
	}
	for i := 0; i < jobs; i++ {
		if <-answers {
			found++
		}
	}
	return
}

func measure(row string, loop func() int) {
	var walls []float64
	for i := 0; i < 5; i++ {
		start := time.Now()
		if loop() != jobs {
			log.Fatal("not all are prime")
		}
		walls = append(walls, float64(time.Since(start))/jobs)
	}
	sort.Float64s(walls)
	fmt.Printf("peer=go row=%s wall_ns=%.0f\n", row, walls[2])
}

func main() {
	runtime.GOMAXPROCS(2)
	go worker()
	go worker()
	measure("serial", serial)
	measure("threads", threads)
}
