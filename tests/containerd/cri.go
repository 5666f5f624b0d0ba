// cri speaks to containerd as a kubelet does: its CRI service.
//
//	cri SOCKET pull IMAGE [USER PASSWORD]
//	cri SOCKET pod NAME                        prints the pod's id; on the node's own network
//	cri SOCKET container POD IMAGE ARGV...     created and started; prints its id
//	cri SOCKET exec CONTAINER ARGV...          prints what it says; its exit status
//	cri SOCKET remove-pod POD
//	cri SOCKET remove-image IMAGE
//	cri SOCKET used                            bytes that the images' file system is said to take
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const deadline = 2 * time.Minute

type client struct {
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient
	ctx     context.Context
}

func podConfig(name string) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Uid: name, Namespace: "default"},
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
		}},
	}
}

func (c *client) pull(image string, credentials []string) error {
	request := &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}}
	if len(credentials) == 2 {
		request.Auth = &cri.AuthConfig{Username: credentials[0], Password: credentials[1]}
	}
	_, err := c.images.PullImage(c.ctx, request)
	return err
}

func (c *client) pod(name string) error {
	made, err := c.runtime.RunPodSandbox(c.ctx, &cri.RunPodSandboxRequest{Config: podConfig(name)})
	if err == nil {
		fmt.Println(made.PodSandboxId)
	}
	return err
}

func (c *client) container(pod, image string, argv []string) error {
	made, err := c.runtime.CreateContainer(c.ctx, &cri.CreateContainerRequest{
		PodSandboxId: pod,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "main"},
			Image:    &cri.ImageSpec{Image: image},
			Command:  argv,
			Linux:    &cri.LinuxContainerConfig{},
		},
		SandboxConfig: podConfig(pod),
	})
	if err != nil {
		return err
	}
	fmt.Println(made.ContainerId)
	_, err = c.runtime.StartContainer(c.ctx, &cri.StartContainerRequest{ContainerId: made.ContainerId})
	return err
}

func (c *client) exec(container string, argv []string) error {
	done, err := c.runtime.ExecSync(c.ctx, &cri.ExecSyncRequest{ContainerId: container, Cmd: argv, Timeout: 60})
	if err != nil {
		return err
	}
	os.Stdout.Write(done.Stdout)
	os.Stderr.Write(done.Stderr)
	if done.ExitCode != 0 {
		os.Exit(int(done.ExitCode))
	}
	return nil
}

func (c *client) removePod(pod string) error {
	if _, err := c.runtime.StopPodSandbox(c.ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
		return err
	}
	_, err := c.runtime.RemovePodSandbox(c.ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod})
	return err
}

func (c *client) removeImage(image string) error {
	_, err := c.images.RemoveImage(c.ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: image}})
	return err
}

func (c *client) used() error {
	said, err := c.images.ImageFsInfo(c.ctx, &cri.ImageFsInfoRequest{})
	if err != nil {
		return err
	}
	var sum uint64
	for _, fs := range said.ImageFilesystems {
		sum += fs.UsedBytes.GetValue()
	}
	fmt.Println(sum)
	return nil
}

func (c *client) do(words []string) error {
	switch n := len(words); {
	case n >= 2 && words[0] == "pull":
		return c.pull(words[1], words[2:])
	case n == 2 && words[0] == "pod":
		return c.pod(words[1])
	case n > 3 && words[0] == "container":
		return c.container(words[1], words[2], words[3:])
	case n > 2 && words[0] == "exec":
		return c.exec(words[1], words[2:])
	case n == 2 && words[0] == "remove-pod":
		return c.removePod(words[1])
	case n == 2 && words[0] == "remove-image":
		return c.removeImage(words[1])
	case n == 1 && words[0] == "used":
		return c.used()
	}
	return fmt.Errorf("unknown words: %q", words)
}

func run(socket string, words []string) error {
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c := &client{cri.NewRuntimeServiceClient(connection), cri.NewImageServiceClient(connection), ctx}
	return c.do(words)
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: cri SOCKET COMMAND...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		os.Exit(1)
	}
}
