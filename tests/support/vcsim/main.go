// Command vcsim serves the vCenter (or, with -esx, ESXi) simulator of the govmomi project on loopback over TLS.
// It prints its URL, and ends with its standard input: whoever started it cannot leave it behind.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	machines := flag.Int("vm", 2, "virtual machines in each resource pool")
	esx := flag.Bool("esx", false, "a single ESXi host instead of a vCenter")
	certificate := flag.String("cert", "", "PEM file of the server's certificate; the simulator's own without it")
	key := flag.String("key", "", "PEM file of its private key")
	flag.Parse()

	model := simulator.VPX()
	if *esx {
		model = simulator.ESX()
	}
	model.Machine = *machines
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword("user", os.Getenv("VCSIM_PASSWORD"))}
	model.Service.TLS = new(tls.Config)
	if *certificate != "" {
		pair, err := tls.LoadX509KeyPair(*certificate, *key)
		if err != nil {
			log.Fatal(err)
		}
		model.Service.TLS.Certificates = []tls.Certificate{pair}
	}
	server := model.Service.NewServer()
	defer server.Close()
	address := *server.URL
	address.User = nil
	fmt.Println(address.String())
	_, _ = io.Copy(io.Discard, os.Stdin)
}
