"""A task of a run as a file that needs nothing of this project: one plain network, in ONNX or as `torch.export` has it.

`network` puts the normalisation and the backbone and the head of a task together; `channels`, `follow` and `unused`
find the channels that it can do without, and `narrow` leaves them out; `formats` write and read a file; `task` does all
of it and checks what was written.
"""
