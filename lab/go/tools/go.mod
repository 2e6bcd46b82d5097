// The lab's own small helpers; they need nothing but Go's standard library.
module kubecert.lab/tools

go 1.24
