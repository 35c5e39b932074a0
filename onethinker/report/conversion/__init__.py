"""An exported model in the form of another library: converted by that library's converter, then asked beside the
original.
"""
