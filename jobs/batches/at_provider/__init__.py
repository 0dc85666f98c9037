"""Lines that go through the provider's own batch endpoint, at the price of batches, where their owner allows it.

A listing of this folder reads as the life of such a batch: `choice` (whether), `holding` (each line becomes a job with
its hold, before anything is sent), `sending` (its file and itself, by `wire`), `looking` (how far it is; `work` drives
it all), `fetching` (its answers), `settling` (each line booked as any other answer), `returning` (lines that did not
run wait again). `figures` says what it costs and saves.
"""
