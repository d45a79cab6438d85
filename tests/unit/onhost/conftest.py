from onhost_machine import machine as machine
