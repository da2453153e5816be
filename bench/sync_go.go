// SPDX-License-Identifier: MIT

// The rows of sync_c.c in Go: goroutines, sync and channels, on one processor.
//
//	sync_go [--quick]
//
// Go has no events: one is a channel that is closed and made anew, as the
// context package does it. A lock is sync.Mutex, which lets a newcomer overtake
// whoever has waited for less than a millisecond.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"sync"
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

func measure(row string, seconds float64, repetitions int, loop func(int)) {
	n := 1000
	for took := 0.0; took < seconds/2; {
		n *= 2
		start := time.Now()
		loop(n)
		took = time.Since(start).Seconds()
	}
	var ns []float64
	for i := 0; i < repetitions; i++ {
		start := cpu()
		loop(n)
		ns = append(ns, float64(cpu()-start)/float64(n))
	}
	sort.Float64s(ns)
	fmt.Printf("peer=go row=%s ns=%.2f best_ns=%.2f n=%d\n", row,
		ns[len(ns)/2], ns[0], n)
}

// contend has tasks take turns, each keeping what it acquired over one yield.
func contend(n, tasks int, acquire, release func()) {
	var all sync.WaitGroup
	all.Add(tasks)
	for i := 0; i < tasks; i++ {
		go func() {
			for i := 0; i < n/tasks; i++ {
				acquire()
				runtime.Gosched()
				release()
			}
			all.Done()
		}()
	}
	all.Wait()
}

func lock(tasks int) func(int) {
	return func(n int) {
		var lock sync.Mutex
		contend(n, tasks, lock.Lock, lock.Unlock)
	}
}

func semaphore(n int) {
	permits := make(chan struct{}, 10)
	contend(n, 100, func() { permits <- struct{}{} }, func() { <-permits })
}

func queue(limit int) func(int) {
	return func(n int) {
		items := make(chan int, limit)
		go func() {
			for i := 0; i < n; i++ {
				items <- i
			}
		}()
		for i := 0; i < n; i++ {
			total += <-items
		}
	}
}

// wake has 1000 waiters, all of them woken n / 1000 times.
func wake(n int, wait func(), notify func()) {
	var all sync.WaitGroup
	waiting := 0
	all.Add(1000)
	for i := 0; i < 1000; i++ {
		go func() {
			for i := 0; i < n/1000; i++ {
				waiting++
				wait()
			}
			all.Done()
		}()
	}
	for i := 0; i < n/1000; i++ {
		for waiting < 1000 {
			runtime.Gosched()
		}
		waiting = 0
		notify()
	}
	all.Wait()
}

func event(n int) {
	set := make(chan struct{})
	wake(n, func() { <-set }, func() {
		was := set
		set = make(chan struct{})
		close(was)
	})
}

func condition(n int) {
	var lock sync.Mutex
	changed := sync.NewCond(&lock)
	wake(n, func() {
		lock.Lock()
		changed.Wait()
		lock.Unlock()
	}, func() {
		lock.Lock()
		changed.Broadcast()
		lock.Unlock()
	})
}

var total int

//go:noinline
func child(argument int) int {
	return argument + 1
}

func group(n int) {
	for ; n > 0; n -= 1000 {
		var all sync.WaitGroup
		all.Add(1000)
		for i := 0; i < 1000; i++ {
			go func(i int) {
				child(i)
				all.Done()
			}(i)
		}
		all.Wait()
	}
}

func gather(n int) {
	results := make([]int, 1000)
	for ; n > 0; n -= 1000 {
		var all sync.WaitGroup
		all.Add(1000)
		for i := 0; i < 1000; i++ {
			go func(i int) {
				results[i] = child(i)
				all.Done()
			}(i)
		}
		all.Wait()
		for _, result := range results {
			total += result
		}
	}
}

func generator(n int) {
	items := make(chan int)
	go func() {
		for i := 0; i < n; i++ {
			items <- i
		}
		close(items)
	}()
	for item := range items {
		total += item
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	seconds, repetitions := 0.05, 5
	if len(os.Args) > 1 && os.Args[1] == "--quick" {
		seconds, repetitions = 0.01, 3
	}
	for _, row := range []struct {
		name string
		loop func(int)
	}{
		{"lock_2", lock(2)}, {"lock_100", lock(100)},
		{"semaphore", semaphore}, {"queue_0", queue(0)},
		{"queue_1", queue(1)}, {"queue_100", queue(100)},
		{"event", event}, {"condition", condition}, {"group", group},
		{"gather", gather}, {"generator", generator},
	} {
		measure(row.name, seconds, repetitions, row.loop)
	}
}
