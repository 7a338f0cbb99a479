package secrets
import ("testing";"time";"strings";"math/rand/v2";"fmt")
func TestXHostile(t *testing.T){
 m:=streaming(t)
 r:=rand.New(rand.NewPCG(1,2))
 rnd:=func(al string,n int)string{b:=make([]byte,n);for i:=range b{b[i]=al[r.IntN(len(al))]};return string(b)}
 const N=200_000
 rep:=func(s string)string{return strings.Repeat(s,N/len(s)+1)}
 al:="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
 sha:=""; for len(sha)<N {sha+="commit "+rnd("0123456789abcdef",40)+" fixes it\n"}
 sha1line:=strings.ReplaceAll(sha,"\n"," ")
 keys:=""; for len(keys)<N {keys+="  key_"+rnd(al,5)+": \""+rnd(al,16)+"\",\n"}
 keysline:=strings.ReplaceAll(keys,"\n"," ")
 idents:=""; for len(idents)<N {idents+="someLongIdentifier"+rnd(al,9)+"(a, b)\n"}
 for name,text:=range map[string]string{
  "prose":rep(englishProse),"curl":rep("curl "),"curllines":rep("curl x\n"),"ey":rep("eyeyeyey"),"base64":rnd(al,N),"spaces":"ab"+rep(" "),
  "quotes":rep(`{\"name\": \"value\"}`+", "),"keys":keys,"keysline":keysline,"glpat":rep("glpat-"),"skproj":rep("sk-proj-"),"sha":sha,"shaline":sha1line,
  "begin":rep("-----BEGIN PRIVATE KEY-----\n"),"hexpairs":rep("41:42:"),"percent":rep("%41%42 abcdefgh "),"idents":idents,"words":rep("word\n"),"key":rep("key "),"nul":rep("a\x00"),
  "under":rnd("abc_",N),"lists":rep("- item\n"),"uuid":rep("f47ac10b-58cc-4372-a567-0e02b2c3d479 "),"urls":rep("https://example.com/some/path?x=1&y=2 "),
  "backslash":rep(`\`),"short":rep("abcdefgh\n"),"token":rep("token: aaaaaaaaaaaaaaaaaaaaaa "), "sgp":rep("sgp_ "), "dots": rep("a.b.c~1Q"), "zxlk": rep("ZXlK"), "sumo":rep("sumo=su"),
 }{
  for _,n:=range []int{1,6,4096}{
  a:=time.Now(); s:=m.Stream(); var err error; var rel int64; found:=0; fed:=0
  ctx:=t.Context()
  for _,p:=range each(text,n){ var f []StreamMatch; fed+=len(p); if rel,f,err=s.Feed(ctx,[]byte(p)); err!=nil {break}; found+=len(f) }
  if err==nil {var f []StreamMatch; f,err=s.End(ctx);found+=len(f)}
  d:=time.Since(a)
  if d>300*time.Millisecond || n==6 { fmt.Printf("%-10s %5d %10v fed %d rel %d found %d %v\n",name,n,d.Round(time.Millisecond),fed,rel,found,err) }
  }
 }
}
