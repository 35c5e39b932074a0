"""What the lenient reader does before the strict one: what other models and people write, turned into the exact form.

Each change is a text among the `repairs`. Where nothing fits, the text stays as it is and the strict reader says why.
"""
