package sandbox

const onAMD64 = true
