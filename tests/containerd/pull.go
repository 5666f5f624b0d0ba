// pull brings an image into containerd as its CRI service does: with the labels by which
// nydus-snapshotter knows which image a snapshot belongs to. ctr alone does not pass them.
//
//	pull SOCKET NAMESPACE REFERENCE [http]    http: so the registry is spoken to; else it is on this machine alone
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/pkg/snapshotters"
	"github.com/containerd/containerd/remotes/docker"
)

func pull(socket, namespace, reference string, inTheClear func(string) (bool, error)) error {
	client, err := containerd.New(socket)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(inTheClear)),
	})
	_, err = client.Pull(ctx, reference,
		containerd.WithResolver(resolver),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter("nydus"),
		containerd.WithImageHandlerWrapper(snapshotters.AppendInfoHandlerWrapper(reference)))
	return err
}

func main() {
	inTheClear := docker.MatchLocalhost
	if len(os.Args) == 5 && os.Args[4] == "http" {
		inTheClear = docker.MatchAllHosts
	} else if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: pull SOCKET NAMESPACE REFERENCE [http]")
		os.Exit(2)
	}
	if err := pull(os.Args[1], os.Args[2], os.Args[3], inTheClear); err != nil {
		fmt.Fprintln(os.Stderr, "pull:", err)
		os.Exit(1)
	}
}
