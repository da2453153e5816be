// SPDX-License-Identifier: MIT

// The job of http_client.h over TLS, on Go's net/http.
//
//	https_go PORT PATH REQUESTS PARALLEL CA
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var client *http.Client
var url string
var bodyBytes int64

func number(i int) int64 {
	n, err := strconv.ParseInt(os.Args[i], 10, 64)
	if err != nil || n <= 0 {
		log.Fatalf("%s is no number", os.Args[i])
	}
	return n
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		log.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func peakKiB() string {
	status, err := os.ReadFile("/proc/self/status")
	found := regexp.MustCompile(`VmHWM:\s*(\d+)`).FindSubmatch(status)
	if err != nil || found == nil {
		log.Fatal("no VmHWM")
	}
	return string(found[1])
}

func get(buffer []byte) {
	answer, err := client.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	if answer.StatusCode != 200 {
		log.Fatal(answer.Status)
	}
	n, err := io.CopyBuffer(io.Discard, answer.Body, buffer)
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	atomic.AddInt64(&bodyBytes, n)
}

// Each of the workers makes requests until all are made.
func work(requests, parallel int64) {
	var asked int64
	var workers sync.WaitGroup
	for i := int64(0); i < parallel; i++ {
		workers.Add(1)
		go func() {
			buffer := make([]byte, 16384)
			for atomic.AddInt64(&asked, 1) <= requests {
				get(buffer)
			}
			workers.Done()
		}()
	}
	workers.Wait()
}

func main() {
	if len(os.Args) != 6 {
		log.Fatal("usage: https_go PORT PATH REQUESTS PARALLEL CA")
	}
	requests, parallel := number(3), number(4)
	transport := &http.Transport{MaxIdleConnsPerHost: int(parallel),
		MaxIdleConns: int(parallel), DisableCompression: true}
	scheme := "http"
	if os.Args[5] != "-" {
		ca, err := os.ReadFile(os.Args[5])
		if err != nil {
			log.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots,
			ClientSessionCache: tls.NewLRUClientSessionCache(0)}
		scheme = "https"
	}
	client = &http.Client{Transport: transport}
	url = fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, number(1), os.Args[2])

	work(parallel, parallel)
	bodyBytes = 0
	start, startCPU := time.Now(), cpu()
	work(requests, parallel)
	took, used := time.Since(start).Seconds(), cpu()-startCPU
	fmt.Printf("requests=%d parallel=%d bytes=%d seconds=%.6f req_per_s=%.0f "+
		"cpu_us=%.3f peak_kib=%s\n", requests, parallel, bodyBytes, took,
		float64(requests)/took,
		float64(used.Nanoseconds())/1e3/float64(requests), peakKiB())
}
