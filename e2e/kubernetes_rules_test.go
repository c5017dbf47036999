package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// workload is an object that makes pods.
type workload struct {
	manifest
	pod      corev1.PodTemplateSpec
	selector *metav1.LabelSelector
	claims   []corev1.PersistentVolumeClaim
	serves   bool // goes on for ever
}

func workloadsOf(all []manifest) (workloads []workload) {
	for _, m := range all {
		switch o := m.object.(type) {
		case *appsv1.StatefulSet:
			workloads = append(workloads, workload{m, o.Spec.Template, o.Spec.Selector, o.Spec.VolumeClaimTemplates, true})
		case *appsv1.Deployment:
			workloads = append(workloads, workload{m, o.Spec.Template, o.Spec.Selector, nil, true})
		case *batchv1.Job:
			workloads = append(workloads, workload{m, o.Spec.Template, nil, nil, false})
		case *batchv1.CronJob:
			workloads = append(workloads, workload{m, o.Spec.JobTemplate.Spec.Template, nil, nil, false})
		}
	}
	return workloads
}

// chipsterPod are the labels of the pods that chipster/sidecar.yaml is a patch of.
var chipsterPod = labels.Set{"app": "chipster", "name": "file-storage", "server": "file-storage"}

// problemsOf are all the rules of this project for its manifests. The chart's
// Secrets, with their keys, count as there.
func problemsOf(all []manifest, chart map[string][]string) (problems []string) {
	for _, w := range workloadsOf(all) {
		report := func(format string, args ...any) {
			problems = append(problems, w.String()+": "+fmt.Sprintf(format, args...))
		}
		w.checkKind(report)
		w.checkReferences(all, chart, report)
		if len(w.pod.Spec.Containers) > 0 { // else a patch of volumes
			w.checkPod(report)
		}
		for _, c := range w.pod.Spec.Containers {
			inContainer := func(format string, args ...any) { report("container %s: "+format, append([]any{c.Name}, args...)...) }
			w.checkSecurity(c, inContainer)
			w.checkResources(c, inContainer)
			w.checkProbes(c, inContainer)
			w.checkMounts(c, inContainer)
		}
	}
	for _, m := range all {
		if problem := checkOther(m, all); problem != "" {
			problems = append(problems, m.String()+": "+problem)
		}
	}
	return problems
}

type reporter = func(format string, args ...any)

func (w workload) checkKind(report reporter) {
	if w.selector != nil {
		selector, err := metav1.LabelSelectorAsSelector(w.selector)
		if err != nil || selector.Empty() || !selector.Matches(labels.Set(w.pod.Labels)) {
			report("its selector does not match its pods")
		}
	}
	switch o := w.object.(type) {
	case *appsv1.Deployment:
		if len(w.pod.Spec.Containers) > 0 && (o.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType || o.Spec.Replicas == nil || *o.Spec.Replicas != 1) {
			report("must be one replica, with strategy Recreate")
		}
	case *batchv1.Job:
		// Of each index: one that fails must not end the others.
		if o.Spec.BackoffLimitPerIndex == nil || *o.Spec.BackoffLimitPerIndex < 1 || o.Spec.ActiveDeadlineSeconds != nil {
			report("needs a backoffLimitPerIndex, and no deadline")
		}
		shards := fmt.Sprintf("--shard $((JOB_COMPLETION_INDEX + 1))/%d", *o.Spec.Completions)
		if *o.Spec.CompletionMode != batchv1.IndexedCompletion || !strings.HasSuffix(w.pod.Spec.Containers[0].Args[0], shards) {
			report("must be indexed, and be told %s", shards)
		}
	case *batchv1.CronJob:
		job := o.Spec.JobTemplate.Spec
		if o.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent {
			report("concurrencyPolicy must be Forbid")
		}
		if o.Spec.TimeZone == nil || *o.Spec.TimeZone == "" {
			report("needs a time zone")
		}
		if o.Spec.StartingDeadlineSeconds == nil || *o.Spec.StartingDeadlineSeconds < 3600 {
			report("must make up for a missed run: startingDeadlineSeconds")
		}
		if job.BackoffLimit == nil || *job.BackoffLimit < 1 || job.ActiveDeadlineSeconds != nil {
			report("needs a backoffLimit, and no deadline")
		}
		if w.pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
			report("restartPolicy must be Never")
		}
	}
}

func (w workload) checkPod(report reporter) {
	spec := w.pod.Spec
	if spec.TerminationGracePeriodSeconds == nil || *spec.TerminationGracePeriodSeconds != 60 {
		report("terminationGracePeriodSeconds must be 60")
	}
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		report("must not share the host's namespaces")
	}
	if w.patch() {
		return // the pod is Chipster's
	}
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		report("needs no token of Kubernetes")
	}
	if spec.SecurityContext == nil || spec.SecurityContext.FSGroup == nil || spec.SecurityContext.RunAsUser != nil {
		report("needs an fsGroup, for its volumes, and no user of its own")
	}
}

func (w workload) checkSecurity(c corev1.Container, report reporter) {
	pod, own := w.pod.Spec.SecurityContext, c.SecurityContext
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	if own == nil {
		own = &corev1.SecurityContext{}
	}
	is := func(b *bool, want bool) bool { return b != nil && *b == want }
	if !is(own.RunAsNonRoot, true) && !is(pod.RunAsNonRoot, true) {
		report("may run as root")
	}
	if !is(own.ReadOnlyRootFilesystem, true) {
		report("its root is not read-only")
	}
	if !is(own.AllowPrivilegeEscalation, false) || own.Privileged != nil {
		report("privilege escalation is not ruled out")
	}
	if own.Capabilities == nil || !slices.Equal(own.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(own.Capabilities.Add) > 0 {
		report("capabilities are left")
	}
	profile := own.SeccompProfile
	if profile == nil {
		profile = pod.SeccompProfile
	}
	if profile == nil || profile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		report("has no seccomp profile RuntimeDefault")
	}
	if _, tag, _ := strings.Cut(c.Image, ":"); tag == "" || tag == "latest" {
		report("image %q needs a version", c.Image)
	}
}

// Secrets come from files: whatever else is in the environment is none.
func (w workload) checkResources(c corev1.Container, report reporter) {
	if limit := c.Resources.Limits.Memory(); limit.Cmp(resource.MustParse("512Mi")) != 0 {
		report("memory limit is %s, must be 512Mi", limit)
	}
	if cpu := c.Resources.Requests.Cpu(); cpu.IsZero() || cpu.MilliValue() > 100 || !c.Resources.Limits.Cpu().IsZero() {
		report("asks for %s of a processor, must be a little, without a limit", cpu)
	}
	env := map[string]string{}
	for _, e := range c.Env {
		if env[e.Name] = e.Value; e.ValueFrom != nil || !slices.Contains([]string{"TZ", "GOMEMLIMIT", "XDG_CACHE_HOME"}, e.Name) {
			report("%s has no business in the environment", e.Name)
		}
	}
	if len(c.EnvFrom) > 0 || env["TZ"] == "" || env["GOMEMLIMIT"] != "400MiB" {
		report("its environment must be TZ, GOMEMLIMIT of 400MiB")
	}
	if o, ok := w.object.(*batchv1.CronJob); ok && o.Spec.TimeZone != nil && env["TZ"] != *o.Spec.TimeZone {
		report("TZ is %s, and the schedule's time zone is not", env["TZ"])
	}
}

// A failed backup is no reason to restart, and for Chipster's pod nothing of
// ours is a reason to be taken out of service.
func (w workload) checkProbes(c corev1.Container, report reporter) {
	probes := map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe}
	for _, name := range slices.Sorted(maps.Keys(probes)) {
		probe, want := probes[name], w.serves && (name != "readiness" || !w.patch())
		switch {
		case probe == nil && !want:
		case probe == nil || !want:
			report("a %s probe: %v, must be %v", name, probe != nil, want)
		case probe.HTTPGet == nil || probe.HTTPGet.Path != "/admin/alive" || !hasPort(c, probe.HTTPGet.Port.String()):
			report("the %s probe must ask for /admin/alive at a port that the container names", name)
		}
	}
}

func hasPort(c corev1.Container, name string) bool {
	return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == name })
}

func (w workload) checkMounts(c corev1.Container, report reporter) {
	volumes := map[string]corev1.VolumeSource{}
	for _, v := range w.pod.Spec.Volumes {
		volumes[v.Name] = v.VolumeSource
	}
	for _, claim := range w.claims {
		volumes[claim.Name] = corev1.VolumeSource{}
	}
	if w.patch() {
		volumes["storage"] = corev1.VolumeSource{} // the chart's
	}
	mounted := map[string]bool{}
	for _, m := range c.VolumeMounts {
		source, ok := volumes[m.Name]
		if mounted[m.Name] = true; !ok {
			report("there is no volume %s for %s", m.Name, m.MountPath)
		}
		if (source.Secret != nil || source.ConfigMap != nil || m.Name == "storage") && !m.ReadOnly {
			report("%s must be mounted read-only", m.Name)
		}
		if source.EmptyDir != nil && source.EmptyDir.SizeLimit == nil {
			report("volume %s needs a sizeLimit", m.Name)
		}
	}
	for name := range volumes {
		if !mounted[name] {
			report("volume %s is not mounted", name)
		}
	}
	if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/tmp" }) {
		report("needs a volume at /tmp")
	}
}

// checkReferences looks for what the volumes are made from.
func (w workload) checkReferences(all []manifest, chart map[string][]string, report reporter) {
	secret := func(name string, items []corev1.KeyToPath) {
		keys, ok := chart[name]
		if ours := object[corev1.Secret](all, name); ours != nil {
			keys, ok = slices.Collect(maps.Keys(ours.StringData)), true
		}
		if !ok {
			report("there is no Secret %s", name)
			return
		}
		for _, item := range items {
			if !slices.Contains(keys, item.Key) {
				report("Secret %s has no key %q", name, item.Key)
			}
		}
	}
	for _, v := range w.pod.Spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			if object[corev1.ConfigMap](all, v.ConfigMap.Name) == nil {
				report("there is no ConfigMap %s", v.ConfigMap.Name)
			}
		case v.Secret != nil:
			secret(v.Secret.SecretName, v.Secret.Items)
			if mode := v.Secret.DefaultMode; !w.patch() && (mode == nil || *mode != 0o440) {
				report("what is in volume %s is readable by everyone", v.Name)
			}
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				secret(source.Secret.Name, source.Secret.Items)
			}
		case v.PersistentVolumeClaim != nil:
			name := v.PersistentVolumeClaim.ClaimName
			if name != "storage" && object[corev1.PersistentVolumeClaim](all, name) == nil { // storage is the user's
				report("there is no claim %s", name)
			}
		}
	}
}

// checkOther is about what has no pods of its own.
func checkOther(m manifest, all []manifest) string {
	switch o := m.object.(type) {
	case *corev1.Secret:
		for key, value := range o.StringData {
			if value != "REPLACE-ME" || len(o.Data) > 0 {
				return key + " looks real"
			}
		}
	case *corev1.Service:
		var names []string
		for _, p := range o.Spec.Ports {
			names = append(names, p.TargetPort.String())
		}
		return selected(all, labels.SelectorFromSet(o.Spec.Selector), names)
	case *networkingv1.NetworkPolicy:
		selector, err := metav1.LabelSelectorAsSelector(&o.Spec.PodSelector)
		if err != nil || len(o.Spec.PolicyTypes) != 2 {
			return fmt.Sprintf("must be about both directions: %v", err)
		}
		var names []string
		for _, rule := range o.Spec.Ingress {
			for _, p := range rule.Ports {
				names = append(names, p.Port.String())
			}
		}
		return selected(all, selector, names)
	case *serviceMonitor:
		selector, err := metav1.LabelSelectorAsSelector(&o.Spec.Selector)
		if err != nil || selector.Empty() || len(o.Spec.Endpoints) != 1 || o.Spec.Endpoints[0].Path != "/metrics" {
			return fmt.Sprintf("must select Services, and ask each for /metrics: %v", err)
		}
		return scraped(all, selector, o.Spec.Endpoints[0].Port)
	}
	return ""
}

// selected demands that a selector means pods, and that these have the ports.
func selected(all []manifest, selector labels.Selector, ports []string) string {
	found := false
	for _, w := range workloadsOf(all) {
		pod := labels.Set(w.pod.Labels)
		if w.patch() {
			pod = chipsterPod
		}
		if selector.Empty() || len(w.pod.Spec.Containers) == 0 || !selector.Matches(pod) {
			continue
		}
		found = true
		for _, port := range ports {
			if !slices.ContainsFunc(w.pod.Spec.Containers, func(c corev1.Container) bool { return hasPort(c, port) }) {
				return fmt.Sprintf("%s has no port %s", w, port)
			}
		}
	}
	if !found {
		return "selects nothing"
	}
	return ""
}

// scraped demands that every Service of firn is selected, and has the port.
func scraped(all []manifest, selector labels.Selector, port string) string {
	for _, m := range all {
		service, ok := m.object.(*corev1.Service)
		if ok && (!selector.Matches(labels.Set(service.Labels)) || !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == port })) {
			return "does not scrape " + m.String()
		}
	}
	return ""
}
