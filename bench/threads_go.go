// SPDX-License-Identifier: MIT

// The rows of threads_c.c in Go: goroutines and channels on two processors.
//
//	threads_go [--quick] [--threads]
//
// Where two goroutines run is the scheduler's choice: it mostly keeps both in
// one thread, and then nothing has crossed. With --threads each has a thread of
// its own, as loops and workers elsewhere have: runtime.LockOSThread.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"syscall"
	"time"
	"unsafe"
)

func cpu() int64 {
	const clockProcessCputimeID = 2
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockProcessCputimeID,
		uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

var peer = "go"

func begin() {
	if peer == "go_threads" {
		runtime.LockOSThread()
	}
}

func measure(row string, seconds float64, repetitions int, loop func(int)) {
	n := 1000
	for took := 0.0; took < seconds/2; {
		n *= 2
		start := time.Now()
		loop(n)
		took = time.Since(start).Seconds()
	}
	var cpus, walls []float64
	for i := 0; i < repetitions; i++ {
		wall, start := time.Now(), cpu()
		loop(n)
		cpus = append(cpus, float64(cpu()-start)/float64(n))
		walls = append(walls, float64(time.Since(wall))/float64(n))
	}
	sort.Float64s(cpus)
	sort.Float64s(walls)
	fmt.Printf("peer=%s row=%s ns=%.2f wall_ns=%.2f n=%d\n", peer, row,
		cpus[len(cpus)/2], walls[len(walls)/2], n)
}

var total int

//go:noinline
func increment(argument int) int {
	return argument + 1
}

type job struct {
	run      func(int) int
	argument int
	result   chan int
}

var jobs = make(chan job, 1000)

func worker() {
	begin()
	for job := range jobs {
		job.result <- job.run(job.argument)
	}
}

func executor(atOnce int) func(int) {
	return func(n int) {
		results := make(chan int, atOnce)
		for ; n > 0; n -= atOnce {
			for i := 0; i < atOnce; i++ {
				jobs <- job{increment, i, results}
			}
			for i := 0; i < atOnce; i++ {
				total += <-results
			}
		}
	}
}

func ping(n int) {
	there, back := make(chan int), make(chan int)
	go func() {
		begin()
		for argument := range there {
			back <- increment(argument)
		}
	}()
	for i := 0; i < n; i++ {
		there <- i
		total += <-back
	}
	close(there)
}

func channel(n int) {
	items := make(chan int, 100)
	go func() {
		begin()
		for i := 0; i < n; i++ {
			items <- i
		}
	}()
	for i := 0; i < n; i++ {
		total += <-items
	}
}

func main() {
	runtime.GOMAXPROCS(2)
	seconds, repetitions := 0.05, 5
	for _, word := range os.Args[1:] {
		if word == "--quick" {
			seconds, repetitions = 0.01, 3
		} else if word == "--threads" {
			peer = "go_threads"
		}
	}
	begin()
	for i := 0; i < 4; i++ {
		go worker()
	}
	for _, row := range []struct {
		name string
		loop func(int)
	}{
		{"executor_1", executor(1)}, {"executor_1000", executor(1000)},
		{"ping", ping}, {"submit", ping}, {"channel", channel},
	} {
		measure(row.name, seconds, repetitions, row.loop)
	}
}
