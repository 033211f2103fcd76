"""A task of a run as a file that needs nothing of this project: one plain network, in ONNX or as `torch.export` has it.

`network` puts the normalisation and the backbone and the head of a task together; `unused` finds the channels that it
can do without, by how they run through it (`model.channels`), and `narrow` leaves them out; `formats` write and read a
file; `cost` says what a network costs; `task` does all of it and checks what was written.
"""
