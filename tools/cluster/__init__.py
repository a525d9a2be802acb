"""The chart on a real API server, for once: `python -m tools.cluster --programs DIRECTORY`.

Not collected by pytest. A real kube-apiserver and kube-controller-manager are not to be had as packages
of Debian 12, but as its source, which Debian's Go builds in some ten minutes (CONTRIBUTING says how).
A script plays the scheduler and the kubelet, and runs each pod's command on this machine; the controllers
(Deployment, ReplicaSet, Job, garbage collection) are the real ones.
"""
