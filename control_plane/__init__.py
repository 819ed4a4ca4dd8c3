"""The control plane: resources in etcd, compiled to what Envoy and ext_proc do."""
